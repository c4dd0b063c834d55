"""Writes `pandapower.json`: power flow and state estimation of published networks, as pandapower 3.5.6 solves them.

Run in an environment that has pandapower (BSD); este itself needs none of it:

    python -m venv pandapower && pandapower/bin/pip install pandapower==3.5.6
    pandapower/bin/python tests/vectors/power_flow/make_with_pandapower.py

The networks are those that pandapower ships: the 33-bus network of Baran and Wu (IEEE Trans. Power Delivery 4(2),
1989), as published and with its five tie lines closed, and the residential feeder of CIGRE's European low-voltage
benchmark (TB 575, 2014) behind its transformer. As este's intervals know no reactive power, loads take none here. The
network outside is este's: 1.0 per unit behind the impedance of 10⁹ VA short-circuit power, R/X = 0.1.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandapower as pp
import pandapower.networks as nw
import pandapower.toolbox as tb
from pandapower.estimation import estimate

SHORT_CIRCUIT_VA = 1e9
RX_RATIO = 0.1
SEED = 20261121


def baran_wu(is_meshed: bool) -> pp.pandapowerNet:
    net = nw.case33bw()
    net.line.in_service = net.line.in_service | is_meshed
    net.line.max_i_ka = 0.4
    return net


def cigre_residential() -> pp.pandapowerNet:
    net = nw.create_cigre_network_lv()
    kept = [bus for bus, name in net.bus.name.items() if "R" in name and net.bus.vn_kv[bus] < 1]
    subnet = tb.select_subnet(net, kept)
    head = next(bus for bus in subnet.bus.index if subnet.bus.name[bus].endswith("R1"))
    subnet.ext_grid = subnet.ext_grid.iloc[0:0]
    pp.create_ext_grid(subnet, head)
    subnet.trafo = subnet.trafo.iloc[0:0]
    subnet.switch = subnet.switch.iloc[0:0]
    return subnet


def prepared(net: pp.pandapowerNet) -> tuple[pp.pandapowerNet, int]:
    """No reactive power, no capacitance, a network outside of finite strength; and the reference bus."""
    net.load.q_mvar = 0.0
    net.line.c_nf_per_km = 0.0
    reference = int(net.ext_grid.bus.iloc[0])
    volts = net.bus.vn_kv[reference]
    ohms = (volts * 1e3) ** 2 / SHORT_CIRCUIT_VA
    reactance = ohms / (1 + RX_RATIO**2) ** 0.5
    outside = pp.create_bus(net, vn_kv=volts, name="outside")
    pp.create_line_from_parameters(
        net, outside, reference, 1.0, RX_RATIO * reactance, reactance, 0.0, 1e3, name="short-circuit impedance"
    )
    net.ext_grid = net.ext_grid.iloc[0:0]
    pp.create_ext_grid(net, outside, vm_pu=1.0)
    return net, reference


def described(net: pp.pandapowerNet, reference: int) -> dict:
    lines = net.line[net.line.in_service & (net.line.name != "short-circuit impedance")]
    buses = [bus for bus in net.bus.index if net.bus.name[bus] != "outside"]
    taken = net.load.groupby("bus").p_mw.sum() * 1e6
    return {
        "buses": [{"id": f"n{bus}", "volts": net.bus.vn_kv[bus] * 1e3, "taken_w": float(taken.get(bus, 0.0))}
                  for bus in buses],
        "reference": f"n{reference}",
        "lines": [
            {
                "id": f"b{i}",
                "from": f"n{line.from_bus}",
                "to": f"n{line.to_bus}",
                "resistance_ohm": line.r_ohm_per_km * line.length_km / line.parallel,
                "reactance_ohm": line.x_ohm_per_km * line.length_km / line.parallel,
                "rating_a": line.max_i_ka * line.df * line.parallel * 1e3,
            }
            for i, line in lines.iterrows()
        ],
    }  # fmt: skip


def solved(net: pp.pandapowerNet) -> dict:
    pp.runpp(net, tolerance_mva=1e-10)
    return {"lines": lines_of(net, net.res_line), "buses": buses_of(net, net.res_bus)}


def lines_of(net: pp.pandapowerNet, result) -> list[dict]:
    lines = net.line[net.line.in_service & (net.line.name != "short-circuit impedance")]
    return [
        {"id": f"b{i}", "from_w": result.p_from_mw[i] * 1e6, "to_w": result.p_to_mw[i] * 1e6,
         "current_a": result.i_ka[i] * 1e3}
        for i in lines.index
    ]  # fmt: skip


def buses_of(net: pp.pandapowerNet, result) -> list[dict]:
    return [{"id": f"n{bus}", "volts": result.vm_pu[bus] * net.bus.vn_kv[bus] * 1e3}
            for bus in net.bus.index if net.bus.name[bus] != "outside"]  # fmt: skip


def estimated(net: pp.pandapowerNet, reference: int, chance: np.random.Generator) -> dict:
    """The same network, measured with errors: power in every load, some lines, some voltages."""
    taken = net.load.groupby("bus").p_mw.sum()
    said: dict[str, list] = {"injections": [], "checks": [], "voltages": []}
    for bus in net.bus.index:
        if net.bus.name[bus] == "outside":
            continue
        true = float(taken.get(bus, 0.0))
        sigma = max(0.01 * true, 1e-4 * taken.max()) if true else 1e-6 * taken.max()
        value = true + (chance.normal(0, sigma) if true else 0.0)
        reactive = max(0.05 * true, 1e-3 * taken.max()) if true else sigma
        pp.create_measurement(net, "p", "bus", value, sigma, bus)
        pp.create_measurement(net, "q", "bus", 0.0, reactive, bus)
        if true:
            said["injections"].append({"id": f"n{bus}", "taken_w": value * 1e6, "sigma_w": sigma * 1e6,
                                       "sigma_var": reactive * 1e6})  # fmt: skip
    lines = [i for i in net.line.index[net.line.in_service] if net.line.name[i] != "short-circuit impedance"]
    for i in lines[:: max(1, len(lines) // 5)]:
        sigma = 0.005 * abs(net.res_line.p_from_mw[i])
        value = net.res_line.p_from_mw[i] + chance.normal(0, sigma)
        pp.create_measurement(net, "p", "line", value, sigma, i, side="from")
        said["checks"].append({"id": f"b{i}", "from_w": value * 1e6, "sigma_w": sigma * 1e6})
    for bus in [reference, *list(taken.index[:: max(1, len(taken) // 6)])]:
        sigma = 0.003
        value = net.res_bus.vm_pu[bus] + chance.normal(0, sigma)
        volts = net.bus.vn_kv[bus] * 1e3
        pp.create_measurement(net, "v", "bus", value, sigma, bus)
        said["voltages"].append({"id": f"n{bus}", "volts": value * volts, "sigma_v": sigma * volts})
    found = estimate(net, init="results", tolerance=1e-7, maximum_iterations=50, zero_injection=None)
    assert found if isinstance(found, bool) else found["success"]
    return said | {"result": {"lines": lines_of(net, net.res_line_est), "buses": buses_of(net, net.res_bus_est)}}


def main() -> None:
    chance = np.random.default_rng(SEED)
    cases = []
    for name, published in (
        ("33 buses of Baran and Wu", baran_wu(False)),
        ("33 buses of Baran and Wu, tie lines closed", baran_wu(True)),
        ("CIGRE low-voltage benchmark, residential feeder", cigre_residential()),
    ):
        net, reference = prepared(published)
        case = {"name": name, "network": described(net, reference), "power_flow": solved(net)}
        cases.append(case | {"estimation": estimated(net, reference, chance)})
    document = {"source": f"pandapower {pp.__version__} (BSD-3-Clause), by make_with_pandapower.py", "cases": cases}
    Path(__file__).with_name("pandapower.json").write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")


main()

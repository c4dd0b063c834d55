#!/usr/bin/env bash
# Installs or upgrades the agent on a Debian machine with systemd: /opt/este, user este, este-agent.service.
# Settings, key and outbox are in /var/lib/este-agent; nothing there is touched. HSM=1 brings what a key in a chip needs.
set -euo pipefail
cd "$(dirname "$0")/.."

target=/opt/este
home=/var/lib/este-agent

if [ "$(id -u)" != 0 ]; then
    echo "install-agent.sh: run it with sudo" >&2
    exit 1
fi

id este >/dev/null 2>&1 || useradd --system --user-group --home-dir "$home" --no-create-home --shell /usr/sbin/nologin este
install -d -o este -g este -m 700 "$home"
make agent VENV="$target" HSM="${HSM:-}"
install -m 644 deploy/systemd/este-agent.service /etc/systemd/system/este-agent.service
systemctl daemon-reload

if [ -f "$home/agent.yaml" ]; then
    systemctl enable este-agent
    systemctl restart este-agent
    echo "este-agent runs: systemctl status este-agent"
else
    echo "installed; now make its settings and key:"
    echo "  sudo -u este $target/bin/este-agent init $home --region REGION --gateway NAME --broker-host HOST"
    echo "and when they are as they should be:"
    echo "  sudo systemctl enable --now este-agent"
fi

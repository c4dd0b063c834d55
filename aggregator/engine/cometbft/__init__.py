"""CometBFT 0.38 as the engine: many nodes agree on an order, of whom any third may fail or lie.

Everything between the `cometbft` program and an `Application` that knows neither sockets nor protobuf:

    application    what an application is asked, and answers      (plain values; what the ledger sees)
    framing        where one message ends on the socket           (pure)
    wire           messages to values and back                    (pure; the only user of protobuf)
    server_port    the socket that CometBFT talks to
    home           the folder that CometBFT reads                 (its settings, genesis and keys)
    process_port   the program itself: found, checked, started again, stopped
    rpc_port       what we ask of it
"""

"""The targets of `docs/performance.md`, measured: `scripts/bench P4`, `scripts/bench all`.

Each target (`targets/table.py` lists them) starts what it needs (`shapes`, with the CPU limits of `limits`), loads it
in a closed loop (`closed`, through wrk) or an open one (`opened`, by `qc bench orders`), counts exactly (`counts`), and
gives `figures`; `report` shows them. It drives the shop by its commands and over HTTP. Where nothing of ours may
run beside what is measured it counts rows (`bare`), and it pours events onto the shop's topics (`starved`).
"""

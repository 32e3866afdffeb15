"""Where the gateway finds models: ports, the local store behind them, and what a model's files say."""

"""``python -m quant_dagster.settings > config/default.yaml``."""

from quant_dagster.settings.rendering import render_defaults

print(render_defaults(), end="")

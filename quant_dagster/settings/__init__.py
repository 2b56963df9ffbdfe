"""One typed settings tree, read from ``config/*.yaml``, the file ``$QUANT_CONFIG`` names, and the environment.

Later sources win; an environment variable is ``QUANT_`` + the key's path joined by ``__``
(``QUANT_RISK__MAX_GROSS_LEVERAGE=1.2``). Unknown keys are errors: a misspelt limit must never be a missing limit.
``python -m quant_dagster.settings`` prints the tree with every key's description and default.

``tree`` holds the root and the small sections, one module each the large ones; ``loading`` reads and merges the
sources; ``rendering`` prints. What a setting means in money or risk is decided where it is read, not here.
"""

from quant_dagster.settings.account_rules import (
    AccountRulesSettings,
    AmountRuleSettings,
    FrequencyRuleSettings,
    QuantityRuleSettings,
    SessionBlockRuleSettings,
)
from quant_dagster.settings.execution import (
    AlgorithmSettings,
    BinanceSpotSettings,
    ConnectionSettings,
    ExecutionSettings,
    IbkrSettings,
)
from quant_dagster.settings.loading import CONFIG_FOLDER, PROJECT_ROOT, load_settings, quant_home
from quant_dagster.settings.market_data import FailoverSettings
from quant_dagster.settings.rendering import render_defaults
from quant_dagster.settings.risk import (
    KillSwitchSettings,
    PanicConditionSettings,
    PanicSettings,
    RiskMeasureSettings,
    RiskSettings,
    ShockSettings,
    StressSettings,
)
from quant_dagster.settings.signals import PairsSettings, SignalSettings
from quant_dagster.settings.tree import NotificationSettings, ResilienceSettings, Settings
from quant_dagster.settings.vendors import LiveVendorSettings, LiveVendorsSettings

__all__ = [
    "AccountRulesSettings",
    "AlgorithmSettings",
    "AmountRuleSettings",
    "BinanceSpotSettings",
    "CONFIG_FOLDER",
    "ConnectionSettings",
    "ExecutionSettings",
    "FailoverSettings",
    "FrequencyRuleSettings",
    "IbkrSettings",
    "KillSwitchSettings",
    "LiveVendorSettings",
    "LiveVendorsSettings",
    "NotificationSettings",
    "PROJECT_ROOT",
    "PairsSettings",
    "PanicConditionSettings",
    "PanicSettings",
    "QuantityRuleSettings",
    "ResilienceSettings",
    "RiskMeasureSettings",
    "RiskSettings",
    "SessionBlockRuleSettings",
    "Settings",
    "ShockSettings",
    "SignalSettings",
    "StressSettings",
    "load_settings",
    "quant_home",
    "render_defaults",
]

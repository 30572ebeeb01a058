from dbt.adapters.base import AdapterPlugin

from dbt.adapters.whimbrel.connections import WhimbrelCredentials
from dbt.adapters.whimbrel.impl import WhimbrelAdapter
from dbt.include import whimbrel

Plugin = AdapterPlugin(
    adapter=WhimbrelAdapter,
    credentials=WhimbrelCredentials,
    include_path=whimbrel.PACKAGE_PATH,
)

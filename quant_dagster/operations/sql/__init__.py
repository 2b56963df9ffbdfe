"""The SQL models of ``dbt_like_sql``: read, checked, put in order, run and tested in process.

Belongs here: what dbt would do, as far as the project uses it. Does not: the models themselves.
"""

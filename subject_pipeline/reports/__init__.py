"""Reports: what an auditor asks for, on one page and as files.

Table, log and checkpoint come in. Out go numbers collected at one time, and the same numbers as sentences, tables,
charts, parquet and CSV.
"""

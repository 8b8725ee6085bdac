"""The rows of the table of settings, one file per family; `umbel.settings.table` joins them."""

"""Targets that are one module. `table.py` lists all: those of several modules are in folders beside this one."""

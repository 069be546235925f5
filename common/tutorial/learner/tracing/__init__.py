"""The worked example: one tiny scenario that goes through all stages, recorded from outside the engine.

scenario   the prompts and the model
recorder   what the model is asked for, by hooks on it; places: where K and V ended up in a cache
ledger     which request each token of a step belongs to
drive      how an engine of each kind is made to run the scenario
show       a trace as text, alone or beside another
compare    the first place where two traces part
"""

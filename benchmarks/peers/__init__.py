"""Tools that quantize, each run by `job` in a process and an environment of its own.

A module `by_<tool>` here is a tool if it defines

    SETTINGS              names of the settings to try, by the kind of network
    load()                import everything heavy, so that it can be timed apart
    quantize(job)         read the model, quantize it, write files into `job.target`

Nothing but numpy and the standard library is imported at the top: the one who compares also
reads `SETTINGS`, and has none of the tools.
"""

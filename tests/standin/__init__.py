"""The full profile without the network: a server that stands in for all others, small files of the true formats,
every loader that downloads, and trials of a loader under a fault.
"""

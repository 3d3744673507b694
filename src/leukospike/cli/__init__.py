"""The command line: one file a verb, the call, the console."""

"""The command line: one file per subcommand, the entry point, and the console."""

"""The commands of the domains, one module a group; cli.py mounts them. Arguments in, sentences and exit codes out."""

"""Settings of the three programs, as an operator writes them: a module per program, and one per thing they share.

Files only: no environment variable changes what a program does, so that what is in force can be read in one place.
Secrets are never settings, only the paths of the files that hold them.
"""

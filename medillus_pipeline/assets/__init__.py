"""Assets: thin shells that know where things are kept, over the domain packages that know how they are made."""

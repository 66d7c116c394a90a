"""Assets: thin shells that know where things are kept, over the domain packages that know how they are made."""

import warnings

# A gate without partitions_def would let one partition's pass hide another one's failure; Dagster calls it a preview.
warnings.filterwarnings("ignore", "Specifying a partitions_def on an AssetCheckSpec")

"""From a pool of images to a corpus: scores, limits, duplicates, balance.

Scores are Parquet files beside the pool, one for each shard of it and pass;
only the last step reads images again, and packs them.
"""

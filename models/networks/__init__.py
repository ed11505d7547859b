"""Network builders, one file per paper: functional Keras models without any training code."""

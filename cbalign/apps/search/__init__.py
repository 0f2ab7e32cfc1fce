"""Search a folder of images with a bundle, through an index on disk that is updated automatically. Without torch."""

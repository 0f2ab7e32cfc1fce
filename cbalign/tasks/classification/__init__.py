"""Classification of texts about images, for NLVR2 and SNLI-VE."""

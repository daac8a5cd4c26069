"""Networks: blocks and the U-Net. Tensors in, tensors out."""

"""The CAM family: heatmaps from a layer's feature maps, often weighted by gradients or scores."""

"""AG-CNN for chest radiographs: the network, its preprocessing and the bundles that carry it.

After Guan et al., "Diagnose like a Radiologist: Attention Guided Convolutional Neural Network for
Thorax Disease Classification" (2018). Importing this package, `agcnn_models.labels`,
`agcnn_models.settings`, `agcnn_models.manifest` and `agcnn_models.manifest_file` does not import torch.
"""

"""The method on modules and tensors: probing, energy, finetuning and how far features moved."""

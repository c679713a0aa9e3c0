"""The ConvNet's gradients compiled for this CPU, where there is a C compiler.

`trustdd.networks.passes` asks for them; results differ from its own by rounding only.
"""

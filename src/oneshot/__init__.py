"""Recognise a class from one picture: Siamese ResNets, trained classically and with Reptile."""

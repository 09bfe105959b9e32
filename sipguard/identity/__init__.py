"""Does the signer stand behind this From?"""

"""Synthetic chest radiographs and the sample studies made of them: what `agcnn-clinic demo` drops into the inbox."""

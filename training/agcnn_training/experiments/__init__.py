"""The paper's tables and figures: which recipes each needs, their training, and how they are written beside the paper.

registry   which experiment needs which recipes, and what is written of them
runner     FRONT DOOR: trains what is missing, then writes
outcomes   what finished runs measured, over all seeds
tables     rows and columns as printed; Markdown and CSV
charts     dots with intervals, ROC curves, areas against tau
films      films with what the network attends to and says of them
"""

"""catdog: does a deeper fully connected network beat a shallow one on cat and dog photos?"""

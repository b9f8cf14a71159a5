"""Where weights come from: folders, single files of the web, repositories of a hub."""

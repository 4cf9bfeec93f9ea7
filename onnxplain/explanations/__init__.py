"""Questions asked of images, and the folder that their answers fill; what the command line and others build on."""

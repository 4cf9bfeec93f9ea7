"""Methods that hide parts of an image and read only the scores: occlusion, SHAP, LIME, Sobol, HSIC, AISE."""

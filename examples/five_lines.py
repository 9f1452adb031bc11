"""Train, save and encode, in five lines. Takes seconds; run it again and the finished run is only opened."""

from vaekit import encode, fit, open_data, recipes, start

data = open_data("digits")  # or a folder of pictures
run = start("runs/digits", data, recipes.vae(data.image, latent=8, epochs=20))
fit(run, data)  # stopped or killed, the same script goes on
model = run.load_model()
mu = encode(model, data.pixels)
print(mu.shape)  # (1797, 8): the same pictures give the same codes

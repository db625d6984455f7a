#!/bin/sh
# Both stages from nothing, with classes: draws 40,000 shapes of 32 x 32 pixels, trains a model and a prior on them, and
# generates eight pictures of each class. About 20 minutes on one CPU core; nothing is downloaded.
#
#   examples/toy_generation.sh [FOLDER]      (toy-generation in the present folder by default)
#
# FOLDER/samples gets the pictures, FOLDER/samples.png all of them in one, a row a class.
set -eu

folder=${1:-toy-generation}
here=$(CDPATH='' cd -P -- "$(dirname -- "$0")" && pwd)

# The data: FOLDER/shapes/CLASS/NUMBER.png, so many that the prior does not learn them by heart. Other pictures are held
# out, to measure on.
vqcodec train toys "$folder/shapes" --count 40000
vqcodec train toys "$folder/held-out" --count 64 --seed 1

# Stage 1: pictures into 8 x 8 tokens (f = 4) out of 128, and back.
vqcodec train stage1 --preset tiny --codebook-size 128 --data "$folder/shapes" --validation "$folder/held-out" \
    --out "$folder/stage1" --keep 1
vqcodec export "$folder"/stage1/checkpoint-*.pt "$folder/model" --name toy --data "$folder/shapes" \
    --description "40,000 drawn shapes" --licence CC0

# Stage 2: a transformer that predicts each token from those before it and from the class, which is the picture's
# folder (--labels). stage2/validation.jsonl tells how well, on those held out: bits per token, fewer are better.
vqcodec train stage2 --model "$folder/model" --data "$folder/shapes" --labels --validation "$folder/held-out" \
    --out "$folder/stage2" --keep 1 --order raster --steps 1500 --batch-size 64 --crop-size 32 \
    --set training.crop.resized=0 --set model.coordinates=true \
    --set model.heads=4 --set model.width=128 --set model.depth=4
vqcodec export "$folder"/stage2/checkpoint-*.pt "$folder/model/prior" --name toy-prior \
    --description "40,000 drawn shapes" --licence CC0

# A temperature below 1 and some guidance towards the class: fewer odd pictures, at the price of variety.
for class in checks cross disc frame ring square stripes triangle; do
    vqcodec generate --model "$folder/model" --class "$class" -n 8 --size 32x32 --guidance 1 --temperature 0.9 \
        -o "$folder/samples/$class"
done
python "$here/../scripts/sample_sheet.py" "$folder/samples.png" "$folder/samples"
echo "$folder/samples.png: eight pictures of each class"

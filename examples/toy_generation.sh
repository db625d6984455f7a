#!/bin/sh
# Both stages on drawn shapes of 32 x 32 pixels, in minutes on two cores: pictures of a class that one names.
#
#   examples/toy_generation.sh [FOLDER]      (toy-generation in the present folder by default)
#
# FOLDER/samples gets eight pictures of each class, FOLDER/samples.png all of them, a row a class.
set -eu

folder=${1:-toy-generation}
here=$(CDPATH='' cd -P -- "$(dirname -- "$0")" && pwd)

vqcodec train toys "$folder/shapes"

# stage 1: f = 4, K = 256, so that a picture is 8 x 8 tokens
vqcodec train stage1 --preset tiny --data "$folder/shapes" --out "$folder/stage1"
vqcodec export "$folder/stage1/checkpoint-00002000.pt" "$folder/model" --name toy --data "$folder/shapes" \
    --description "2,000 drawn shapes" --licence CC0

# stage 2: a transformer that knows the classes, which are the folders of the pictures
vqcodec train stage2 --model "$folder/model" --data "$folder/shapes" --labels --out "$folder/stage2" \
    --order raster --steps 800 --batch-size 64 --crop-size 32 \
    --set training.crop.resized=0 --set training.crop.pad=true --set training.crop.flip=false
vqcodec export "$folder/stage2/checkpoint-00000800.pt" "$folder/model/prior" --name toy-prior \
    --description "2,000 drawn shapes" --licence CC0

for class in "$folder"/shapes/*/; do
    class=$(basename "$class")
    vqcodec generate --model "$folder/model" --class "$class" -n 8 --size 32x32 --guidance 1 \
        -o "$folder/samples/$class" -f
done
python "$here/../scripts/sample_sheet.py" "$folder/samples.png" "$folder/samples"

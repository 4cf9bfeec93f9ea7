/* Grad-CAM from an explainable file, in C: ./grad_cam MODEL.onnx IMAGE.ppm [TARGET]

   cc grad_cam.c -I"$ONNXRUNTIME_INCLUDE" -L"$ONNXRUNTIME_LIB" -lonnxruntime -lm -o grad_cam

   Needs ONNX Runtime alone. IMAGE is a binary PPM of the input's size. TARGET is an entry of the first head; -1, the
   default, is its best entry. Memory is left to the end of the program. */

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "onnxruntime_c_api.h"

static const OrtApi *ort;

static void fail(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void check(OrtStatus *status) {
    if (status != NULL) fail("onnxruntime", ort->GetErrorMessage(status));
}

/* JSON: a value is a pointer to its first character. The metadata are well formed, so nothing is checked. */

static const char *skip_space(const char *text) { return text + strspn(text, " \t\r\n,:"); }

/* The first character after a value. */
static const char *skip_value(const char *text) {
    int depth = 0;
    do {
        text = skip_space(text);
        if (*text == '"') {
            for (text++; *text != '"'; text++) text += *text == '\\';
            text++;
        } else if (*text == '{' || *text == '[') {
            depth++, text++;
        } else if (*text == '}' || *text == ']') {
            depth--, text++;
        } else {
            text += strcspn(text, " \t\r\n,:{}[]\"");
        }
    } while (depth > 0);
    return text;
}

/* The value of a key in an object; NULL if there is none. */
static const char *member(const char *object, const char *key) {
    const char *at = skip_space(object + 1);
    while (*at == '"') {
        const char *end = skip_value(at), *value = skip_space(end);
        if ((size_t)(end - at) == strlen(key) + 2 && strncmp(at + 1, key, strlen(key)) == 0) return value;
        at = skip_space(skip_value(value));
    }
    return NULL;
}

/* An element of an array; the last one for -1; NULL if there is none. */
static const char *element(const char *array, int index) {
    const char *at = skip_space(array + 1), *last = NULL;
    for (; *at != ']'; at = skip_space(skip_value(at)), index--) {
        if (index == 0) return at;
        last = at;
    }
    return index < 0 ? last : NULL;
}

static double number(const char *value) { return strtod(value, NULL); }

/* The text of a string, copied. Escapes are kept as they are. */
static char *string(const char *value) {
    if (*value != '"') fail("metadata", "found no text where a name should be");
    size_t length = (size_t)(skip_value(value) - value) - 2;
    char *text = malloc(length + 1);
    memcpy(text, value + 1, length);
    text[length] = '\0';
    return text;
}

static int is(const char *value, const char *text) { return strcmp(string(value), text) == 0; }

static OrtValue *tensor(void *data, size_t bytes, const int64_t *shape, size_t rank, ONNXTensorElementDataType type) {
    OrtMemoryInfo *memory;
    OrtValue *value;
    check(ort->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory));
    check(ort->CreateTensorWithDataAsOrtValue(memory, data, bytes, shape, rank, type, &value));
    return value;
}

static float *floats(OrtValue *value) {
    void *data;
    check(ort->GetTensorMutableData(value, &data));
    return data;
}

int main(int count, char **arguments) {
    if (count < 3) fail("usage", "grad_cam MODEL.onnx IMAGE.ppm [TARGET]");
    int64_t target = count > 3 ? atoll(arguments[3]) : -1;

    ort = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (ort == NULL) fail("onnxruntime", "the library is older than the header");
    OrtEnv *env;
    OrtSessionOptions *options;
    OrtSession *session;
    OrtModelMetadata *stored;
    OrtAllocator *allocator;
    check(ort->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "grad_cam", &env)); /* no warnings about default inputs */
    check(ort->CreateSessionOptions(&options));
    check(ort->CreateSession(env, arguments[1], options, &session));
    check(ort->SessionGetModelMetadata(session, &stored));
    check(ort->GetAllocatorWithDefaultOptions(&allocator));
    char *spec;
    check(ort->ModelMetadataLookupCustomMetadataMap(stored, allocator, "onnxplain", &spec));
    if (spec == NULL) fail(arguments[1], "found no metadata, expected an explainable file");
    if (number(member(spec, "version")) != 2) fail(arguments[1], "expected contract version 2");

    const char *source = member(spec, "input"), *head = element(member(spec, "heads"), 0);
    const char *layer = element(member(spec, "layers"), -1), *channels = member(source, "channels");
    const char *kind = member(head, "kind");
    int is_bgr = *channels == '"' && is(channels, "bgr");
    if (!is(member(source, "layout"), "nchw") || *channels != '"' || !(is_bgr || is(channels, "rgb")) ||
        is(kind, "embedding") || is(kind, "mask"))
        fail(arguments[1], "this example takes a colour photo as [N, 3, H, W], and no embedding or mask");

    int size = (int)number(member(head, "size"));
    if (target < -1 || target >= size) fail("target", "expected -1, or an entry of the first head");

    int height = (int)number(element(member(source, "size_hw"), 0));
    int width = (int)number(element(member(source, "size_hw"), 1));
    int found_width, found_height, area = height * width;
    FILE *file = fopen(arguments[2], "rb");
    if (file == NULL || fscanf(file, "P6 %d %d 255", &found_width, &found_height) != 2 || fgetc(file) == EOF)
        fail(arguments[2], "found no binary PPM (P6, 255)");
    if (found_width != width || found_height != height) fail(arguments[2], "expected an image of the input's size");
    unsigned char *pixels = malloc((size_t)area * 3);
    if (fread(pixels, 3, (size_t)area, file) != (size_t)area) fail(arguments[2], "the file is cut off");
    float *image = malloc(sizeof(float) * (size_t)area * 3);
    for (int channel = 0; channel < 3; channel++) {
        const char *mean = member(source, "mean"), *std = member(source, "std");
        const char *own_mean = element(mean, channel), *own_std = element(std, channel);
        double m = number(own_mean ? own_mean : element(mean, 0)), s = number(own_std ? own_std : element(std, 0));
        for (int pixel = 0; pixel < area; pixel++) {
            double value = pixels[pixel * 3 + (is_bgr ? 2 - channel : channel)] * number(member(source, "scale"));
            image[channel * area + pixel] = (float)((value - m) / s);
        }
    }

    char explain = 1; /* bool */
    const int64_t image_shape[] = {1, 3, height, width}, one[] = {1};
    const char *inputs[] = {string(member(source, "name")), "target", "explain"};
    const char *outputs[] = {string(member(head, "logits")), string(member(layer, "features")),
                             string(member(layer, "gradients"))};
    const OrtValue *feeds[] = {
        tensor(image, sizeof(float) * (size_t)area * 3, image_shape, 4, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT),
        tensor(&target, sizeof target, one, 1, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64),
        tensor(&explain, sizeof explain, one, 1, ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL),
    };
    OrtValue *found[3] = {NULL, NULL, NULL};
    size_t fed = *member(spec, "gated") == 't' ? 3 : 2;
    check(ort->Run(session, NULL, inputs, feeds, fed, outputs, 3, found));
    const float *logits = floats(found[0]), *features = floats(found[1]), *gradients = floats(found[2]);

    /* Grad-CAM: alpha_k = mean over space of the gradient of map k; heat = max(0, sum over k of alpha_k · map k). */
    int maps = (int)number(member(layer, "channels"));
    int rows = (int)number(element(member(layer, "size_hw"), 0));
    int columns = (int)number(element(member(layer, "size_hw"), 1)), cells = rows * columns;
    double *heat = calloc((size_t)cells, sizeof(double)), largest = 1e-30;
    for (int map = 0; map < maps; map++) {
        double alpha = 0;
        for (int cell = 0; cell < cells; cell++) alpha += gradients[map * cells + cell] / (double)cells;
        for (int cell = 0; cell < cells; cell++) heat[cell] += alpha * features[map * cells + cell];
    }
    for (int cell = 0; cell < cells; cell++) largest = fmax(largest, heat[cell]);

    int entry = target < 0 ? 0 : (int)target;
    for (int other = 0; target < 0 && !is(kind, "values") && other < size; other++)
        if (logits[other] > logits[entry]) entry = other;
    const char *label = element(member(spec, "labels"), entry);
    printf("target %d label ", entry);
    if (label != NULL) printf("%s", string(label));
    else printf("%d", entry);
    printf(" logit %.6f\nheat %d %d\n", logits[entry], rows, columns);
    for (int cell = 0; cell < cells; cell++)
        printf("%.6f%c", fmax(heat[cell] / largest, 0), (cell + 1) % columns ? ' ' : '\n');
    return 0;
}

// Pictures as token ids, for models that have an image tokenizer.

#include "cli/engine/engine_impl.h"
#include "model/image/image_tokenizer.h"

namespace lancet {

std::vector<std::vector<std::int32_t>> EngineImpl::image_ids(const fs::path& model,
                                                             const std::vector<fs::path>& images,
                                                             const RuntimeOptions& runtime) {
  prepare_runtime(runtime);
  const c10::InferenceMode inference;
  const ImageTokenizer tokenizer = ImageTokenizer::open(ModelSource::open(model));
  std::vector<std::vector<std::int32_t>> out;
  out.reserve(images.size());
  for (const fs::path& image : images) out.push_back(tokenizer.ids(read_picture(image)));
  return out;
}

}  // namespace lancet

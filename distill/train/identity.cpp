#include "distill/train/identity.h"

#include <vector>

#include "core/hash.h"
#include "core/parallel.h"
#include "formats/adapter/overlay.h"

namespace lancet {

Json model_identity(const ModelSource& source, const Tokenizer& tokenizer) {
  const auto& files = source.checkpoint().files();
  std::vector<std::string> hashes(files.size());
  parallel::for_each(files.size(),
                     [&](std::size_t i) { hashes[i] = sha256_file(files[i].path()); });
  Json out{{"config", sha256_hex(dump_json(source.config()))},
           {"tokenizer", sha256_hex(dump_json(tokenizer.json()))},
           {"files", hashes}};
  if (source.overlay() != nullptr)
    out["adapter"] = adapter_hash(source.overlay()->adapter().path());
  return out;
}

std::string adapter_hash(const fs::path& adapter) {
  Sha256 sum;
  sum.update(sha256_file(adapter / "adapter_config.json"));
  sum.update(sha256_file(adapter_weights(adapter)));
  return sum.hex();
}

}  // namespace lancet

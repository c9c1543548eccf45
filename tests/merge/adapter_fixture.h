#pragma once
// Adapters on disk and their updates, for the tests of adapters.

#include "formats/adapter/overlay.h"
#include "merge/adapter_combine.h"
#include "merge/adapter_extract.h"
#include "tests/catch.h"
#include "tests/merge/memory.h"

namespace lancet::test {

inline Matrix matrix(std::size_t rows, std::size_t columns, const Values& values) {
  Matrix out(rows, columns);
  out.values = values;
  return out;
}

inline Matrix times(const Matrix& b, const Matrix& a, double factor = 1) {
  Matrix out = jacobi().multiply(b, a, false, false);
  for (double& value : out.values) value *= factor;
  return out;
}

inline double distance(const Matrix& a, const Matrix& b) {
  REQUIRE(a.values.size() == b.values.size());
  double out = 0;
  for (std::size_t i = 0; i < a.values.size(); ++i)
    out = std::max(out, std::fabs(a.values[i] - b.values[i]));
  return out;
}

struct AdapterFixture {
  Scratch scratch;

  void save(const std::string& name, const NamedTensors& tensors, const Json& config) {
    save_model(scratch / name, tensors);
    fs::rename(scratch / name / "model.safetensors", scratch / name / "adapter_model.safetensors");
    Json full{{"peft_type", "LORA"}, {"r", 2}, {"lora_alpha", 4}, {"target_modules", {"q"}}};
    if (config.is_object()) full.update(config);
    write_file(scratch / name / "adapter_config.json", dump_json(full));
  }

  static NamedTensors one_module(const Values& b, const Values& a, std::int64_t rank = 2,
                                 const std::string& module = "model.layers.0.q") {
    const std::string prefix = "base_model.model." + module + ".lora_";
    return {{prefix + "A.weight", {{rank, 6}, a}}, {prefix + "B.weight", {{5, rank}, b}}};
  }

  void save_base() {
    save_model(scratch / "base", {{"model.embed.weight", {{7, 6}, random_values(42, 1)}},
                                  {"model.layers.0.q.weight", {{5, 6}, random_values(30, 2)}},
                                  {"model.norm.weight", {{6}, random_values(6, 3)}}});
  }

  Values adapted(const std::string& adapter, const std::string& tensor) {
    const ModelSource source = ModelSource::open(scratch / "base", scratch / adapter);
    const TensorInfo& info = source.at(tensor);
    std::vector<float> out(info.elements());
    source.read_f32(info, 0, info.shape[0], out);
    return {out.begin(), out.end()};
  }

  std::string refusal(const std::string& adapter, ErrorKind kind) {
    const auto error = error_of(
        [&] { static_cast<void>(ModelSource::open(scratch / "base", scratch / adapter)); });
    REQUIRE(error);
    CHECK(error->kind() == kind);
    return error->message() + " | " + error->hint();
  }
};

/// The dense update of the first module of an adapter file.
inline Matrix update_of(const AdapterFile& file) {
  const LoraFactors& f = file.modules.at(0);
  Matrix b(static_cast<std::size_t>(f.d_out), static_cast<std::size_t>(f.rank)),
      a(static_cast<std::size_t>(f.rank), static_cast<std::size_t>(f.d_in));
  b.values.assign(f.b.begin(), f.b.end());
  a.values.assign(f.a.begin(), f.a.end());
  return times(b, a);
}

}  // namespace lancet::test

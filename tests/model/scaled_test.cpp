// Checkpoints with scales beside their weights: what transformers computes with the weights that
// they stand for (tests/oracle/make_scaled_goldens.py).

#include "core/error.h"
#include "formats/model_writer.h"
#include "model/generate.h"
#include "tests/catch.h"
#include "tests/model/model_copy.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

TEST_CASE("scaled: logits of weights in fp8, int8 and MXFP4 equal transformers'") {
  for (const std::string& name : scaled_names()) {
    INFO(name);
    const Decoder model = load_tiny(name);
    const double difference = max_abs(model.forward(golden(name, "ids")), golden(name, "logits"));
    INFO("max abs " << difference);
    CHECK(difference < tolerance::kTinyLogits);
    const ModelSource source = ModelSource::open(folder_of(name));
    CHECK_FALSE(source.config().contains("quantization_config"));
    CHECK_FALSE(parse_json(source.side_files().at("config.json"), "config.json")
                    .contains("quantization_config"));
  }
}

TEST_CASE("scaled: values are those of the formula, whole, by parts and rounded into copies") {
  for (const std::string& name : scaled_names()) {
    INFO(name);
    const auto file = Checkpoint::open(folder_of(name) / "golden.safetensors");
    const ModelSource source = ModelSource::open(folder_of(name));
    std::size_t checked = 0;
    for (const TensorInfo& each : file->tensors()) {
      if (!each.name.starts_with("weight.")) continue;
      const at::Tensor wanted = golden(name, each.name);
      const TensorInfo& tensor = source.at(each.name.substr(7));
      CHECK(tensor.shape == each.shape);
      CHECK(tensor.dtype == DType::kBF16);
      std::vector<float> all(tensor.elements());
      source.read_f32(tensor, 0, tensor.shape[0], all);
      CHECK(std::equal(all.begin(), all.end(), wanted.const_data_ptr<float>()));
      std::vector<float> part(7);
      for (std::size_t at = 0; at + 7 < all.size(); at += 11) {
        source.read_elements(tensor, at, part);
        REQUIRE(
            std::equal(part.begin(), part.end(), all.begin() + static_cast<std::ptrdiff_t>(at)));
      }
      std::string bytes;
      copy_tensor(source, tensor, std::nullopt).write([&](Bytes block) {
        bytes.append(reinterpret_cast<const char*>(block.data()), block.size());
      });
      const at::Tensor rounded = wanted.to(at::kBFloat16).contiguous();
      REQUIRE(bytes.size() == rounded.nbytes());
      CHECK(std::memcmp(bytes.data(), rounded.const_data_ptr(), bytes.size()) == 0);
      ++checked;
    }
    CHECK(checked == 1);
  }
}

TEST_CASE("scaled: other ways of quantising are refused with those that are decoded") {
  const auto refused = [](const std::string& name, const Json& quantization,
                          const std::string& found) {
    const ScratchFolder folder("scaled");
    write_changed(folder_of(name), folder.path() / "model", [&](StoredTensors&, Json& config) {
      config["quantization_config"] = quantization;
    });
    const ModelSource source = ModelSource::open(folder.path() / "model");  // can be looked at
    const std::string message = error_of([&] { static_cast<void>(Decoder::load(source)); });
    CHECK_THAT(message, Catch::Contains(found) && Catch::Contains("mxfp4 or compressed-tensors"));
  };
  for (const char* method : {"gptq", "awq", "bitsandbytes", "aqlm"})
    refused("plain", {{"quant_method", method}}, method);
  refused("plain", {{"quant_method", "fp8"}}, "without a tensor that has scales");
  Json packed{{"quant_method", "compressed-tensors"}, {"format", "pack-quantized"}};
  refused("plain", packed, "pack-quantized");
  packed["format"] = "int-quantized";
  packed["config_groups"]["group_0"]["weights"] = {{"num_bits", 4}};
  refused("plain", packed, "4 bits");
  packed["config_groups"]["group_0"]["weights"] = {{"num_bits", 8}, {"symmetric", false}};
  refused("plain", packed, "zero points");
  refused("plain", Json::array({1}), "[1]");
}

TEST_CASE("scaled: scales that do not fit their tensors are an input error with both shapes") {
  struct Case {
    std::string name, part;
  };
  for (const Case& each : {Case{"fp8-blocks", "_scale_inv"}, Case{"mxfp4", "_scales"}}) {
    INFO(each.name);
    const ScratchFolder folder("scaled");
    write_changed(folder_of(each.name), folder.path() / "model",
                  [&](StoredTensors& tensors, Json&) {
                    for (auto& entry : tensors) {
                      if (entry.first.ends_with(each.part)) entry.second = zeros({5, 7});
                    }
                  });
    const std::string message =
        error_of([&] { static_cast<void>(ModelSource::open(folder.path() / "model")); });
    CHECK_THAT(message, Catch::Contains("[5, 7]") && Catch::Contains(each.part));
  }
}

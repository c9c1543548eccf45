// lancet inspect: what a checkpoint holds, from its headers; with --stats from its weights.

#include <CLI/CLI.hpp>

#include "cli/output.h"
#include "core/table.h"
#include "formats/config/hf_config.h"
#include "formats/model_source.h"
#include "formats/quant/scaled_weights.h"
#include "formats/statistics.h"
#include "formats/tokenizer/summary.h"

namespace lancet {
namespace {

struct InspectOptions {
  std::string model;
  bool tensors = false;
  bool stats = false;
};

std::string_view form_name(CheckpointForm form) {
  switch (form) {
    case CheckpointForm::kHuggingFace:
      return "huggingface";
    case CheckpointForm::kSafetensors:
      return "safetensors";
    case CheckpointForm::kPyTorch:
      return "pytorch";
    case CheckpointForm::kGguf:
      return "gguf";
  }
  return "unknown";
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

Json statistics_json(const TensorStatistics& s) {
  return {{"min", s.min},   {"max", s.max}, {"mean", s.mean}, {"std", s.std},
          {"norm", s.norm}, {"nan", s.nan}, {"inf", s.inf}};
}

Json gguf_value_json(const GgufValue& value) {
  return std::visit(
      [](const auto& v) -> Json {
        using T = std::decay_t<decltype(v)>;
        if constexpr (requires { v.begin(); } && !std::is_same_v<T, std::string>) {
          if (v.size() > 16) return {{"array", v.size()}};
          return Json(v);
        } else {
          return Json(v);
        }
      },
      value.value);
}

Json metadata_json(const Checkpoint& checkpoint) {
  if (checkpoint.gguf() == nullptr) return checkpoint.metadata();
  Json out = Json::object();
  for (const auto& [key, value] : checkpoint.gguf()->metadata) out[key] = gguf_value_json(value);
  return out;
}

/// config.json for any form; an empty object for weights alone.
Json config_or_empty(const Checkpoint& checkpoint) {
  if (checkpoint.weights_alone()) return Json::object();
  if (checkpoint.gguf() != nullptr) return ModelSource::open(checkpoint.path()).config();
  const auto text = checkpoint.side_file("config.json");
  if (!text) return Json::object();
  Json config = parse_hf_config(*text, "config.json");
  if (!config.is_object())
    fail(ErrorKind::kInput, "inspect", "config.json: expected an object, found another kind");
  (void)json_string(config, "model_type", "config.json", "");  // a string where it is given
  return config;
}

Json describe(const Checkpoint& checkpoint, bool stats) {
  const Json config = config_or_empty(checkpoint);
  std::uint64_t parameters = 0, bytes = 0;
  Json dtypes = Json::object(), tensors = Json::array(), files = Json::array();
  for (const auto& tensor : checkpoint.tensors()) {
    parameters += tensor.elements();
    bytes += tensor.bytes;
    const std::string dtype(dtype_info(tensor.dtype).name);
    dtypes[dtype] = dtypes.value(dtype, 0) + 1;
    Json row{{"name", tensor.name},
             {"dtype", dtype},
             {"shape", tensor.shape},
             {"bytes", tensor.bytes},
             {"file", checkpoint.files()[tensor.file].path().filename().string()}};
    if (stats && dtype_info(tensor.dtype).floating) {
      row["stats"] = statistics_json(tensor_statistics(tensor.dtype, checkpoint.data(tensor)));
      checkpoint.files()[tensor.file].release(tensor.offset, tensor.bytes);
    }
    tensors.push_back(std::move(row));
  }
  for (const auto& file : checkpoint.files()) {
    files.push_back({{"file", file.path().filename().string()}, {"bytes", file.size()}});
  }
  const auto tokenizer = summarize_tokenizer(checkpoint);
  return {
      {"format", form_name(checkpoint.form())},
      {"architecture", config.contains("model_type") ? config["model_type"] : Json()},
      {"parameters", parameters},
      {"bytes", bytes},
      {"files", files},
      {"dtypes", dtypes},
      {"tensors", tensors},
      {"config", config},
      {"tokenizer",
       tokenizer ? Json{{"kind", tokenizer->kind}, {"vocab_size", tokenizer->vocab_size}} : Json()},
      {"quantization",
       config.contains("quantization_config") ? config["quantization_config"] : Json()},
      {"metadata", metadata_json(checkpoint)}};
}

std::string number(const Json& value) {
  return value.is_null() ? "-" : fmt::format("{:.4g}", value.get<double>());
}

std::string tensor_table(const Json& tensors, bool stats) {
  std::vector<Table::Column> columns{
      {"tensor"}, {"dtype"}, {"shape"}, {"size", Table::Align::kRight}};
  if (stats) {
    for (const char* name : {"min", "max", "mean", "std", "norm", "NaN+Inf"}) {
      columns.push_back({name, Table::Align::kRight});
    }
  }
  Table table(columns);
  for (const auto& t : tensors) {
    std::vector<std::string> row{t["name"], t["dtype"], shape_text(t["shape"]),
                                 human_bytes(t["bytes"])};
    if (stats) {
      const Json s = t.value("stats", Json::object());
      for (const char* name : {"min", "max", "mean", "std", "norm"})
        row.push_back(number(s.value(name, Json())));
      row.push_back(s.empty() ? "-"
                              : fmt::format("{}", s["nan"].get<std::uint64_t>() +
                                                      s["inf"].get<std::uint64_t>()));
    }
    table.add(std::move(row));
  }
  return table.text();
}

/// In millions, where there are some.
std::string count_text(std::uint64_t count) {
  if (count < 1'000'000) return std::to_string(count);
  return fmt::format("{:.1f} M", static_cast<double>(count) / 1e6);
}

std::string text(const Json& d, const InspectOptions& options) {
  std::string dtypes;
  for (const auto& [name, count] : d["dtypes"].items())
    dtypes += fmt::format("{}{} x{}", dtypes.empty() ? "" : ", ", name, count.dump());
  std::string out;
  const auto line = [&](std::string_view key, const std::string& value) {
    out += fmt::format("{:<25}{}\n", key, value);
  };
  line("format", d["format"]);
  line("architecture", d["architecture"].is_null() ? "-" : d["architecture"].get<std::string>());
  line("parameters", count_text(d["parameters"].get<std::uint64_t>()));
  line("weights",
       fmt::format("{} in {} tensors, {} file{}", human_bytes(d["bytes"]), d["tensors"].size(),
                   d["files"].size(), d["files"].size() == 1 ? "" : "s"));
  line("dtypes", dtypes);
  if (!d["quantization"].is_null()) line("quantization", quantization_text(d["quantization"]));
  for (const char* key :
       {"num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads",
        "num_key_value_heads", "vocab_size", "max_position_embeddings"}) {
    if (d["config"].contains(key)) line(key, d["config"][key].dump());
  }
  if (!d["tokenizer"].is_null()) {
    line("tokenizer", fmt::format("{}, {} tokens", d["tokenizer"]["kind"].get<std::string>(),
                                  d["tokenizer"]["vocab_size"].dump()));
  }
  if (options.tensors || options.stats) out += "\n" + tensor_table(d["tensors"], options.stats);
  return out;
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<InspectOptions>();
  app.add_option("MODEL", options->model, "Directory, .safetensors, .gguf or index .json")
      ->required();
  app.add_flag("--tensors", options->tensors, "List every tensor");
  app.add_flag("--stats", options->stats,
               "Read the weights: min, max, mean, std, norm, NaN and Inf per tensor");
  return [options, &common] {
    const auto checkpoint = Checkpoint::open(options->model);
    const Json document = describe(*checkpoint, options->stats);
    if (common.json) {
      print_json(document);
    } else {
      print_text(text(document, *options));
    }
    return 0;
  };
}

}  // namespace

extern const Command command_inspect{
    .name = "inspect",
    .group = "Checkpoints",
    .summary = "Header facts of a checkpoint: form, architecture, sizes, dtypes, tokenizer",
    .examples =
        "  lancet inspect model.gguf --tensors\n"
        "  lancet inspect model/ --stats --json | jq '.tensors[] | select(.stats.nan > 0)'",
    .declare = declare};

}  // namespace lancet

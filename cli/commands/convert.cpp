// lancet convert: any readable form to any writable form.

#include <CLI/CLI.hpp>

#include "cli/common_options.h"
#include "cli/output.h"
#include "cli/run_plan.h"
#include "core/hash.h"
#include "core/seconds.h"
#include "formats/copy_memory.h"
#include "formats/model_writer.h"
#include "formats/output_journal.h"
#include "formats/replaceable.h"
#include "merge/estimate.h"
#include "version.h"

namespace lancet {
namespace {

struct ConvertOptions {
  std::string in, out, quantize, shard_size = "5GB";
  bool restart = false;
};

/// The dtype that was asked for, or nothing for "as stored".
std::optional<DType> asked_dtype(const CommonOptions& common) {
  if (common.runtime.dtype == "auto") return std::nullopt;
  return parse_dtype(common.runtime.dtype);
}

std::vector<OutputTensor> output_tensors(const ModelSource& source, std::optional<DType> dtype) {
  std::vector<OutputTensor> tensors;
  for (const auto& tensor : source.tensors()) tensors.push_back(copy_tensor(source, tensor, dtype));
  return tensors;
}

Json plan(const ConvertOptions& options, const ModelSource& source,
          const std::vector<OutputTensor>& tensors, std::optional<DType> dtype) {
  const bool quantized = !options.quantize.empty();
  const std::uint64_t weights = weight_bytes(tensors, quantized);
  const auto side_files = source.side_files();
  const std::uint64_t bytes = weights + beside_bytes(options.out, side_files);
  return {{"plan", true},
          {"output", options.out},
          {"tensors", tensors.size()},
          {"bytes", bytes},
          {"peak_memory",
           copying_memory(options.out, weights, side_files, dtype.has_value() || quantized)},
          {"seconds", writing_seconds(options.out, bytes)}};
}

/// What decides the bytes of the result. `inputs`: of the manifest.
Json identity_of(const ConvertOptions& options, const ModelSource& source, const Json& inputs,
                 std::optional<DType> dtype) {
  return {{"version", LANCET_VERSION},
          {"quantize", options.quantize},
          {"dtype", dtype ? Json(dtype_info(*dtype).name) : Json()},
          {"shard_size", parse_bytes(options.shard_size)},
          {"inputs", inputs},
          {"configuration", sha256_hex(dump_json(Json(source.side_files())))}};
}

/// Writes, or goes on with what an interrupted run has left.
int run(const ConvertOptions& options, const CommonOptions& common, const ModelSource& source,
        std::vector<OutputTensor> tensors) {
  const Timer timer;
  const std::optional<DType> dtype = asked_dtype(common);
  WriteOptions write{.shard_size = parse_bytes(options.shard_size),
                     .force = common.force,
                     .quantize_q8_0 = !options.quantize.empty(),
                     .dtype = dtype,
                     .manifest = command_json("convert", common)};
  write.manifest["inputs"] = Json::array({input_model(options.in)});
  OutputJournal journal("convert", options.out,
                        identity_of(options, source, write.manifest["inputs"], dtype),
                        {.restart = options.restart});
  write.journal = &journal;
  const auto files = write_model(options.out, std::move(tensors), source.side_files(), write);
  std::uint64_t bytes = 0;
  for (const auto& file : files) bytes += file.bytes;
  const double seconds = timer.seconds();
  const std::uint64_t resumed = journal.resumed();
  common.json
      ? print_json(
            {{"output", options.out}, {"bytes", bytes}, {"seconds", seconds}, {"resumed", resumed}})
      : print_text(fmt::format(
            "{}: {}{} in {} files, {:.1f} s\n", options.out, human_bytes(bytes),
            resumed > 0 ? fmt::format(" ({} of them from an earlier run)", human_bytes(resumed))
                        : "",
            files.size(), seconds));
  return 0;
}

std::function<int()> declare(CLI::App& app, const CommonOptions& common) {
  auto options = std::make_shared<ConvertOptions>();
  app.add_option("IN", options->in, "Any readable model")->required();
  app.add_option("OUT", options->out, "*.gguf, *.safetensors, else a Hugging Face directory")
      ->required();
  app.add_option("--quantize", options->quantize, "q8_0: matrices as Q8_0 (GGUF only)")
      ->check(CLI::IsMember({"q8_0"}));
  app.add_option("--shard-size", options->shard_size,
                 "Largest weight file of a directory (default 5GB)")
      ->check(size_validator());
  app.add_flag("--restart", options->restart,
               "Throw away what an interrupted conversion to OUT left");
  return [options, &common] {
    if (!options->quantize.empty() && fs::path(options->out).extension() != ".gguf") {
      fail(ErrorKind::kUsage, "convert",
           "--quantize q8_0 expects an OUT that ends in .gguf, found " + options->out);
    }
    check_place("convert", options->out, OutputKind::kModel, {options->in},
                replaces(common.force, common.plan));
    const auto source = ModelSource::open(options->in);
    auto tensors = output_tensors(source, asked_dtype(common));
    if (common.plan) {
      const Json document = plan(*options, source, tensors, asked_dtype(common));
      common.json ? print_json(document)
                  : print_text(fmt::format(
                        "would write {} tensors, {}, to {}; memory {}, time {}\n",
                        document["tensors"].dump(), human_bytes(document["bytes"]), options->out,
                        about_bytes(document["peak_memory"]), about_seconds(document["seconds"])));
      return 0;
    }
    return run(*options, common, source, std::move(tensors));
  };
}

}  // namespace

extern const Command command_convert{
    .name = "convert",
    .group = "Checkpoints",
    .summary = "Any readable form to any writable form: GGUF, safetensors, Hugging Face directory",
    .examples =
        "  lancet convert model.gguf model/\n  lancet convert model/ model-q8.gguf --quantize q8_0",
    .dtype = kWritten,
    .declare = declare};

}  // namespace lancet

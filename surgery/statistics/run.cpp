#include "surgery/statistics/run.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/outputs.h"
#include "formats/model_writer.h"
#include "formats/replaceable.h"
#include "model/load_options.h"
#include "model/runtime.h"
#include "surgery/cost.h"
#include "surgery/down.h"
#include "surgery/edit_session.h"
#include "surgery/statistics/checkpoint.h"
#include "surgery/statistics/imports.h"

namespace lancet {
namespace {

void check_request(const CovarianceRequest& request) {
  const int sources = (request.texts.empty() ? 0 : 1) + (request.self_generated > 0 ? 1 : 0) +
                      (request.imports.empty() ? 0 : 1);
  if (sources != 1)
    fail(ErrorKind::kUsage, "covariance",
         fmt::format("expected one of --text, --self-generated and --import, found {}", sources));
  std::vector<fs::path> read{request.model};
  read.insert(read.end(), request.texts.begin(), request.texts.end());
  read.insert(read.end(), request.imports.begin(), request.imports.end());
  check_place("covariance", request.out, OutputKind::kFile, read, replaces(request.force, false));
  if (request.npz) {
    check_folder("covariance", *request.npz);
    check_not_input("covariance", *request.npz, request.imports);
  }
  check_apart("covariance",
              {{"-o", request.out}, {"--export-npz", request.npz.value_or(fs::path())}});
}

/// "model.layers.5.mlp.down_proj"; of experts, whose keys stand side by side,
/// "model.layers.5.block_sparse_moe.experts".
std::vector<std::string> module_names(const Decoder& model,
                                      const std::vector<std::int64_t>& layers) {
  std::vector<std::string> out;
  for (const std::int64_t layer : layers) {
    const bool experts = key_place(model, layer) == Place::kExpertInput;
    const std::string weight = model.mlp_down(layer, experts ? 0 : -1).name;
    constexpr std::string_view kExperts = ".experts";
    const std::size_t found = experts ? weight.find(kExperts) : std::string::npos;
    out.push_back(weight.substr(
        0, found == std::string::npos ? weight.rfind(".weight") : found + kExperts.size()));
  }
  return out;
}

/// What a run collects, by headers.
struct Wanted {
  DecoderSpec spec;
  std::vector<std::int64_t> layers;
  std::vector<fs::path> imports;  ///< in the order of the layers, or none
};

Wanted read_headers(const CovarianceRequest& request, const ModelSource& source) {
  Wanted out{describe_decoder(source.config()), {}, {}};
  out.layers = parse_layers(request.layers, out.spec.layers, "covariance");
  require_mlp(out.spec, out.layers, "covariance");
  for (const std::int64_t layer : out.layers) check_key_width(out.spec, layer);
  if (request.imports.empty()) return out;
  out.imports = import_order(request.imports, out.layers);
  for (std::size_t i = 0; i < out.layers.size(); ++i)
    check_covariance(out.imports[i], out.layers[i], key_width(out.spec, out.layers[i]));
  return out;
}

/// Everything that moves a digit: resuming is right only where all of it is the same.
Json identity_of(const SurgeryModel& model, const CovarianceRequest& request,
                 const std::vector<std::int64_t>& layers, const Corpus& corpus,
                 std::int64_t max_tokens) {
  CovarianceIdentity own =
      covariance_identity(model.decoder, sha256_hex(dump_json(model.source.config())),
                          model.tokenizer, layers.back(), shipped_covariance_text());
  own.text_sha256 = sha256_hex(dump_json(corpus.identity()));
  own.window = request.window;
  own.max_tokens = max_tokens;
  Json out = own.json();
  out["layers"] = layers;
  out["corpus"] = corpus.identity();
  return out;
}

/// Of a text, by its bytes; null where the model writes the text, or statistics are imported.
Json collecting_seconds(const CovarianceRequest& request, const ModelSource& source,
                        const DecoderSpec& spec, const std::vector<std::int64_t>& layers) {
  constexpr double kBytesOfToken = 4.5;
  if (request.texts.empty()) return {};
  double tokens = 0;
  for (const fs::path& path : request.texts) {
    if (!fs::exists(path)) (void)MappedFile(path);  // which says so
    tokens += static_cast<double>(fs::file_size(path)) / kBytesOfToken;
  }
  if (request.max_tokens > 0) tokens = std::min(tokens, static_cast<double>(request.max_tokens));
  return moments_collect_seconds(source, spec, layers, tokens, true);
}

Json plan_covariance(const CovarianceRequest& request, const RuntimeOptions& runtime) {
  const ModelSource source = ModelSource::open(request.model);
  const auto [spec, layers, imports] = read_headers(request, source);
  std::uint64_t bytes = 0, widest = 0;
  for (const std::int64_t layer : layers) {
    const auto width = static_cast<std::uint64_t>(key_width(spec, layer));
    widest = std::max(widest, width);
    bytes += width * width * sizeof(double);
  }
  const std::uint64_t weights = weight_sizes(source, load_options(runtime)).loaded;
  return {{"plan", true},
          {"output", request.out.string()},
          {"layers", layers},
          {"d_ff", widest},
          {"output_bytes", bytes},
          {"matrices_memory", bytes},
          {"weights_memory", weights},
          {"peak_memory", weights + bytes + kEditingMemory},
          {"seconds", collecting_seconds(request, source, spec, layers)},
          {"offload", runtime.offload}};
}

/// Weights, texts and imported statistics, with sizes and hashes.
Json inputs_of(const CovarianceRequest& request) {
  Json out = Json::array({input_model(request.model)});
  for (const auto* paths : {&request.texts, &request.imports}) {
    for (const fs::path& path : *paths) out.push_back(input_file(path));
  }
  return out;
}

/// The statistics, and OUT.lancet.json beside them.
void write_outputs(const CovarianceRequest& request, const RuntimeOptions& runtime,
                   const Moments& moments, const std::vector<std::string>& names,
                   const Json& identity) {
  Json inputs = inputs_of(request);  // hashed before there is a result that lacks its manifest
  const std::string sha256 = save_covariances(request.out, moments, names, identity);
  write_manifest(request.out.string() + ".lancet.json",
                 {{"command", {{"command", "covariance"}, {"layers", request.layers}}},
                  {"seed", runtime.seed},
                  {"inputs", std::move(inputs)},
                  {"tokens", moments.tokens},
                  {"identity", identity}},
                 {{request.out, fs::file_size(request.out), sha256}});
}

}  // namespace

Json run_covariance(const CovarianceRequest& request, const RuntimeOptions& runtime) {
  check_request(request);
  if (request.plan) return plan_covariance(request, runtime);
  LapTimer watch;
  ModelSource source = ModelSource::open(request.model);
  const auto [spec, layers, imports] = read_headers(request, source);
  Tokenizer tokenizer = Tokenizer::open(source);
  const SurgeryModel model = load_surgery_model(std::move(source), std::move(tokenizer), runtime);
  const auto names = module_names(model.decoder, layers);
  watch.lap("load");
  const FreedMemoryKept kept;
  Json identity;
  Moments moments;
  std::int64_t resumed = 0;
  fs::path partial = request.out;
  partial += ".partial";
  if (!imports.empty()) {
    moments = read_imports(model.decoder, imports, layers, identity);
  } else {
    const auto corpus = request.texts.empty()
                            ? own_corpus(model.decoder, model.tokenizer, runtime.seed)
                            : text_corpus(request.texts);
    CollectOptions options{
        .window = request.window,
        .max_tokens = request.texts.empty() ? request.self_generated : request.max_tokens,
        .checkpoint = partial};
    identity = identity_of(model, request, layers, *corpus, options.max_tokens);
    watch.lap("identity");
    moments = collect_moments(model.decoder, model.tokenizer, layers, *corpus, identity, options,
                              resumed);
  }
  watch.lap("collect");
  write_outputs(request, runtime, moments, names, identity);
  Json exported = Json::array();
  if (request.npz) {
    for (const fs::path& path : export_covariances(*request.npz, moments, names))
      exported.push_back(path.string());
  }
  std::error_code none_there;
  fs::remove(partial, none_there);
  watch.lap("write");
  const double collecting = watch.laps()["collect"].get<double>();
  return {{"output", request.out.string()},
          {"layers", layers},
          {"tensors", names},
          {"tokens", moments.tokens},
          {"documents", moments.documents},
          {"resumed_tokens", resumed},
          {"seconds", watch.total()},
          {"tokens_per_second", static_cast<double>(moments.tokens - resumed) / collecting},
          {"exported", exported},
          {"timings", watch.laps()}};
}

}  // namespace lancet

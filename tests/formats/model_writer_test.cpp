// Writing a model in every form: the same values come back, nothing half-made stays.

#include "formats/model_writer.h"

#include <sys/resource.h>

#include <cstdlib>

#include "core/error.h"
#include "core/hash.h"
#include "core/parallel.h"
#include "core/progress.h"
#include "tests/catch.h"
#include "tests/formats/scratch.h"
#include "tests/formats/tiny_llama.h"

namespace lancet {
namespace {

/// A model that is written everywhere below; progress stays off.
std::vector<WrittenFile> write(const fs::path& out, const WriteOptions& options = {},
                               bool tied = true) {
  Progress::enable(false);
  return write_model(out, tiny::tensors(tied), tiny::side_files(tied), options);
}

std::vector<OutputTensor> copies(const ModelSource& source,
                                 std::optional<DType> dtype = std::nullopt) {
  std::vector<OutputTensor> out;
  for (const TensorInfo& tensor : source.tensors())
    out.push_back(copy_tensor(source, tensor, dtype));
  return out;
}

void check_values(const fs::path& model, bool tied = true) {
  const ModelSource source = ModelSource::open(model);
  const auto specs = tiny::specs(tied);
  REQUIRE(source.tensors().size() == specs.size());
  for (std::size_t t = 0; t < specs.size(); ++t) {
    const TensorInfo& tensor = source.at(specs[t].name);
    std::vector<float> values(tensor.elements());
    source.read_f32(tensor, 0, tensor.shape[0], values);
    CHECK(values == tiny::values(t, specs[t].shape));
  }
}

void check_manifest(const fs::path& manifest, const fs::path& directory,
                    const std::vector<WrittenFile>& files) {
  const Json json = read_json(manifest);
  REQUIRE(json["outputs"].size() == files.size());
  CHECK(json["lancet"].is_string());
  for (std::size_t i = 0; i < files.size(); ++i) {
    const Json& entry = json["outputs"][i];
    CHECK(entry["file"] == files[i].path.filename().string());
    const fs::path path = directory / entry["file"].get<std::string>();
    CHECK(path == files[i].path);
    CHECK(entry["bytes"] == fs::file_size(path));
    CHECK(entry["sha256"] == sha256_file(path));
  }
}

ErrorKind kind_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.kind();
  }
  return ErrorKind::kInternal;
}

OutputTensor failing() {
  return {"model.layers.0.mlp.up_proj.weight", DType::kF32, {64, 32}, [](const auto& emit) {
            emit(std::as_bytes(std::span(std::string_view("cut short"))));
            fail(ErrorKind::kNumeric, "test", "the writer of a tensor fails");
          }};
}

}  // namespace

TEST_CASE("model writer: every form holds the same values and a true manifest", "[model_writer]") {
  const Scratch scratch;
  for (const bool tied : {true, false}) {
    for (const char* name : {"dir", "file.safetensors", "file.gguf"}) {
      INFO(name);
      WriteOptions options;
      options.force = true;
      options.manifest["command"] = "test";
      const auto files = write(scratch / name, options, tied);
      check_values(scratch / name, tied);
      const bool directory = std::string(name) == "dir";
      const fs::path manifest =
          directory ? scratch / "dir/lancet.json" : scratch / (std::string(name) + ".lancet.json");
      check_manifest(manifest, directory ? scratch / "dir" : scratch.path(), files);
      CHECK(read_json(manifest)["command"] == "test");
    }
  }
}

TEST_CASE("model writer: directory -> GGUF -> directory gives the same weight file",
          "[model_writer]") {
  const Scratch scratch;
  write(scratch / "a");
  const ModelSource a = ModelSource::open(scratch / "a");
  write_model(scratch / "b.gguf", copies(a), a.side_files(), {});
  const ModelSource b = ModelSource::open(scratch / "b.gguf");
  write_model(scratch / "c", copies(b), {{"config.json", dump_json(b.config())}}, {});
  CHECK(sha256_file(scratch / "a/model.safetensors") ==
        sha256_file(scratch / "c/model.safetensors"));
}

TEST_CASE(
    "model writer: a directory copied unchanged is the same bytes, files beside the weights too",
    "[model_writer]") {
  const Scratch scratch;
  write(scratch / "a");
  const ModelSource a = ModelSource::open(scratch / "a");
  const auto files = write_model(scratch / "b", copies(a), a.side_files(), {});
  CHECK(files.size() == 5);
  for (const WrittenFile& file : files) {
    CHECK(sha256_file(scratch / "a" / file.path.filename().string()) == file.sha256);
  }
}

TEST_CASE("model writer: in GGUF vectors are float32, matrices keep their dtype",
          "[model_writer]") {
  const Scratch scratch;
  write(scratch / "a");
  const ModelSource a = ModelSource::open(scratch / "a");
  write_model(scratch / "b.gguf", copies(a, DType::kBF16), a.side_files(), {});
  const auto b = Checkpoint::open(scratch / "b.gguf");
  for (const TensorInfo& tensor : b->tensors()) {
    CHECK(tensor.dtype == (tensor.shape.size() == 1 ? DType::kF32 : DType::kBF16));
  }
  CHECK(b->gguf()->integer("general.file_type") == 32);
  CHECK(b->tensors().front().name == "token_embd.weight");
}

TEST_CASE("model writer: q8_0 takes every matrix whose rows fill blocks", "[model_writer]") {
  const Scratch scratch;
  WriteOptions options;
  options.quantize_q8_0 = true;
  write(scratch / "b.gguf", options);
  const auto b = Checkpoint::open(scratch / "b.gguf");
  for (const TensorInfo& tensor : b->tensors()) {
    CHECK(tensor.dtype == (tensor.shape.size() == 1 ? DType::kF32 : DType::kQ8_0));
  }
  CHECK(b->gguf()->integer("general.file_type") == 7);
}

TEST_CASE("model writer: shards stay within their size, are indexed and read back",
          "[model_writer]") {
  const Scratch scratch;
  WriteOptions options;
  options.shard_size = 9000;  // the largest tensor has 8192 bytes
  const auto files = write(scratch / "m", options);
  CHECK(fs::exists(scratch / "m/model-00001-of-00010.safetensors"));
  CHECK_FALSE(fs::exists(scratch / "m/model.safetensors"));
  const auto checkpoint = Checkpoint::open(scratch / "m");
  CHECK(checkpoint->files().size() == 10);
  std::uint64_t total = 0;
  std::vector<std::uint64_t> sizes(checkpoint->files().size());
  for (const TensorInfo& tensor : checkpoint->tensors()) sizes[tensor.file] += tensor.bytes;
  for (const std::uint64_t size : sizes) {
    CHECK(size <= 9000);
    total += size;
  }
  CHECK(read_json(scratch / "m/model.safetensors.index.json")["metadata"]["total_size"] == total);
  check_values(scratch / "m");
  check_manifest(scratch / "m/lancet.json", scratch / "m", files);

  options.shard_size = 1;  // every tensor alone
  options.force = true;
  write(scratch / "m", options);
  CHECK(Checkpoint::open(scratch / "m")->files().size() == tiny::specs().size());
  check_values(scratch / "m");
}

TEST_CASE("model writer: what exists is kept without force and replaced with it",
          "[model_writer]") {
  const Scratch scratch;
  WriteOptions force;
  force.force = true;
  for (const char* name : {"m", "m.safetensors", "m.gguf"}) {
    write(scratch / name);
    CHECK(kind_of([&] { write(scratch / name); }) == ErrorKind::kUsage);
    write(scratch / name, force);
    check_values(scratch / name);
  }
}

TEST_CASE("model writer: force does not replace a directory that holds no model",
          "[model_writer]") {
  const Scratch scratch;
  fs::create_directories(scratch / "photos");
  write_file(scratch / "photos/cat.jpg", "meow");
  WriteOptions force;
  force.force = true;
  CHECK(kind_of([&] { write(scratch / "photos", force); }) == ErrorKind::kUsage);
  CHECK(read_file(scratch / "photos/cat.jpg") == "meow");
}

TEST_CASE("model writer: a failure in the middle leaves nothing, and the old model under force",
          "[model_writer]") {
  const Scratch scratch;
  const std::map<std::string, std::function<void(const fs::path&)>> extra = {
      {"lancet.delta.safetensors", [](const fs::path& path) { write_file(path, "delta"); }}};
  auto tensors = tiny::tensors();
  std::ranges::find(tensors, failing().name, &OutputTensor::name)->write = failing().write;
  WriteOptions force;
  force.force = true;
  for (const char* name : {"m", "m.safetensors", "m.gguf"}) {
    INFO(name);
    CHECK(kind_of([&] { write_model(scratch / name, tensors, tiny::side_files(), {}, extra); }) ==
          ErrorKind::kNumeric);
    CHECK(scratch.empty());
    write(scratch / name);
    CHECK(kind_of([&] { write_model(scratch / name, tensors, tiny::side_files(), force); }) ==
          ErrorKind::kNumeric);
    check_values(scratch / name);
    fs::remove_all(scratch / name);
    fs::remove(scratch / (std::string(name) + ".lancet.json"));
  }
}

TEST_CASE("model writer: extra files stand beside the weights and in the manifest",
          "[model_writer]") {
  const Scratch scratch;
  const std::map<std::string, std::function<void(const fs::path&)>> extra = {
      {"lancet.delta.safetensors", [](const fs::path& path) { write_file(path, "delta"); }}};
  auto files = write_model(scratch / "m", tiny::tensors(), tiny::side_files(), {}, extra);
  CHECK(read_file(scratch / "m/lancet.delta.safetensors") == "delta");
  check_manifest(scratch / "m/lancet.json", scratch / "m", files);
  files = write_model(scratch / "m.gguf", tiny::tensors(), tiny::side_files(), {}, extra);
  CHECK(read_file(scratch / "m.gguf.lancet.delta.safetensors") == "delta");
  check_manifest(scratch / "m.gguf.lancet.json", scratch.path(), files);
}

TEST_CASE("model writer: config.json says a dtype that was asked for and is untouched otherwise",
          "[model_writer]") {
  const Scratch scratch;
  write(scratch / "a");
  CHECK(read_file(scratch / "a/config.json") == tiny::side_files().at("config.json"));
  const ModelSource a = ModelSource::open(scratch / "a");
  WriteOptions options;
  options.dtype = DType::kBF16;
  write_model(scratch / "b", copies(a, DType::kBF16), a.side_files(), options);
  const Json config = read_json(scratch / "b/config.json");
  CHECK(config["dtype"] == "bfloat16");
  CHECK(config["torch_dtype"] == "bfloat16");
  CHECK(config["hidden_size"] == 32);
}

TEST_CASE("model writer: a model without a GGUF form is a mismatch and leaves nothing",
          "[model_writer]") {
  const Scratch scratch;
  auto files = tiny::side_files();
  files.erase("config.json");
  CHECK(kind_of([&] { write_model(scratch / "m.gguf", tiny::tensors(), files, {}); }) ==
        ErrorKind::kInput);
  files["config.json"] = R"({"model_type":"opt"})";
  CHECK(kind_of([&] { write_model(scratch / "m.gguf", tiny::tensors(), files, {}); }) ==
        ErrorKind::kMismatch);
  auto tensors = tiny::tensors();
  tensors.push_back(tiny::output("model.vision_tower.weight", {4}, tiny::values(0, {4})));
  CHECK(kind_of([&] { write_model(scratch / "m.gguf", tensors, tiny::side_files(), {}); }) ==
        ErrorKind::kMismatch);
  CHECK(scratch.empty());
}

TEST_CASE("model writer: rope_freqs of a llama3 model come back as its scaling", "[model_writer]") {
  const Scratch scratch;
  Json config = tiny::config();
  config["rope_scaling"] = Json::parse(R"({"rope_type":"llama3","factor":32.0,"low_freq_factor":1.0,
    "high_freq_factor":4.0,"original_max_position_embeddings":8192})");
  config["rope_theta"] = 500000.0;
  auto files = tiny::side_files();
  files["config.json"] = dump_json(config);
  write_model(scratch / "m.gguf", tiny::tensors(), files, {});
  CHECK(Checkpoint::open(scratch / "m.gguf")->find("rope_freqs.weight") != nullptr);
  const Json back = ModelSource::open(scratch / "m.gguf").config();
  CHECK(back["rope_scaling"] == config["rope_scaling"]);
  CHECK(back["rope_parameters"]["rope_theta"] == 500000.0);
  check_values(scratch / "m.gguf");
}

TEST_CASE(
    "model writer: the embedded model becomes what save_file writes of gguf-py's values, with any "
    "threads",
    "[model_writer][slow]") {
  const char* named = std::getenv("LANCET_TEST_GGUF");
  const fs::path model = named != nullptr ? named : LANCET_TEST_GGUF;
  if (!fs::exists(model)) LANCET_SKIP("the embedded model is missing");
  const char* data = std::getenv("LANCET_TEST_DATA");
  const Json goldens =
      read_json(fs::path(data != nullptr ? data : LANCET_TEST_DATA) / "safetensors/goldens.json");
  const Scratch scratch;
  const ModelSource source = ModelSource::open(model);
  for (const int threads : {1, 2}) {
    parallel::set_threads(threads);
    WriteOptions options;
    options.force = true;
    const auto files = write_model(scratch / "m", copies(source), {}, options);
    CHECK(files.at(0).sha256 == goldens["converted_float32_sha256"]);
  }
  parallel::set_threads(0);
}

}  // namespace lancet

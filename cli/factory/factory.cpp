// The far side of cli/factory.h.

#include "cli/factory.h"

#include "distill/curate.h"
#include "distill/filter.h"
#include "distill/recipe.h"
#include "distill/stages.h"
#include "distill/synthesize.h"

namespace lancet {
namespace {

class FactoryInstance final : public Factory {
 public:
  Json synthesize(const SynthesizeRequest& request) override { return lancet::synthesize(request); }
  Json describe_job(const fs::path& path, std::optional<std::uint64_t> seed) override {
    return lancet::describe_job(path, seed);
  }
  Json recipes() override { return describe_data_recipes(); }
  Json curate(const CurateRequest& request) override { return lancet::curate(request); }
  Json filters() override { return filters_json(); }
};

}  // namespace
}  // namespace lancet

extern "C" lancet::Factory* lancet_factory_instance() {
  static lancet::FactoryInstance instance;
  return &instance;
}

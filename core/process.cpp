#include "core/process.h"

#include <utility>

#include "core/seconds.h"

namespace lancet {
namespace {

const Timer began;

std::vector<std::string>& words() {
  static std::vector<std::string> remembered;
  return remembered;
}

}  // namespace

void set_arguments(std::vector<std::string> given) { words() = std::move(given); }
const std::vector<std::string>& arguments() { return words(); }
double process_seconds() { return began.seconds(); }

}  // namespace lancet

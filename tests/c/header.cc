// A C++ program includes the header, twice, and uses what differs between the languages.
#include <treering.h>
#include <treering.h>

#include "treering_test.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>

namespace {

struct Free {
  void operator()(treering_control *control) const { treering_control_free(control); }
  void operator()(treering_error *error) const { treering_error_free(error); }
};

// A callback that keeps its exception inside.
int32_t catches(void *userdata, const uint8_t *, size_t) noexcept {
  try {
    throw std::runtime_error("not through C");
  } catch (const std::exception &) {
    *static_cast<bool *>(userdata) = true;
    return 5;
  }
}

// Callbacks that do not.
int32_t throws(void *userdata, const uint8_t *, size_t) {
  *static_cast<bool *>(userdata) = true;
  throw std::runtime_error("not through C");
}

int32_t throws_progress(void *, const treering_progress *, size_t) { throw 1; }

void throws_at_the_end(void *) { throw 2; }

} // namespace

int main() {
  static_assert(sizeof(treering_status) == 4, "a status has the size C gives it");
  treering_error *err = nullptr;
  treering_control *made = nullptr;
  if (treering_control_new(&made, &err) != TREERING_OK) return 1;
  std::unique_ptr<treering_control, Free> control(made);
  if (treering_test_panic(&err) != TREERING_INTERNAL) return 2;
  std::unique_ptr<treering_error, Free> error(err);
  err = nullptr;

  treering_diff *diff = nullptr;
  treering_layer_result written;
  bool caught = false;
  char tree[] = "/tmp/treering-cc-XXXXXX";
  if (mkdtemp(tree) == nullptr) return 5;
  const treering_status compared =
      treering_diff_tree(nullptr, TREERING_PATH(tree), "scratch", nullptr, 0, nullptr, &diff, nullptr, &err);
  rmdir(tree);
  if (compared != TREERING_OK) {
    std::fprintf(stderr, "%s\n", treering_error_text(err));
    return 3;
  }
  const treering_status status = treering_layer_write_callback(diff, nullptr, 0, catches, &caught, nullptr,
                                                               control.get(), &written, sizeof written, &err);
  if (status != TREERING_CALLBACK || !caught || treering_error_callback_code(err) != 5) return 4;
  treering_error_free(err);
  err = nullptr;

  caught = false;
  const treering_status thrown =
      treering_layer_write_callback(diff, nullptr, 0, TREERING_CATCH(throws), &caught,
                                    TREERING_CATCH(throws_at_the_end), control.get(), &written, sizeof written, &err);
  if (thrown != TREERING_CALLBACK || !caught || treering_error_callback_code(err) != -1) return 6;
  treering_error_free(err);
  err = nullptr;
  if (treering_control_set_progress(control.get(), TREERING_CATCH(throws_progress), nullptr, nullptr, 1, &err))
    return 7;
  // The last word at the latest cancels.
  (void)treering_layer_write_callback(diff, nullptr, 0, catches, &caught, nullptr, control.get(), &written,
                                      sizeof written, nullptr);
  treering_progress progress;
  if (treering_control_progress(control.get(), &progress, sizeof progress, &err) || !progress.cancelled) return 8;
  treering_diff_free(diff);
  return 0;
}

#include "unhandled.hpp"

#include "chain_reader.hpp"

#include <cstdio>
#include <string>

namespace leat::detail {

void report_unhandled(const callback<void(const unhandled_failure&)>& handler, const task_root& root,
                      std::exception_ptr thrown) noexcept
{
    try {
        const inspect::task_info task = chain_reader::read_head(root);
        const std::string report = "leat: a detached task failed with " + describe(thrown) + "\n  " +
                                   title(task) + spawned_in(task, ", ");
        if (handler) {
            handler({thrown, report});
            return;
        }
        std::fprintf(stderr, "%s\n", report.c_str());
    } catch (...) {
        std::fputs("leat: a detached task failed, and so did reporting it\n", stderr);
    }
    std::terminate();
}

}  // namespace leat::detail

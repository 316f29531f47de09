# fastnn_add_isa(TARGET NAME FLAGS...): compile every kernels/<family>.cpp once more, for this instruction set.
function(fastnn_add_isa target isa)
  if(FASTNN_ISAS AND NOT isa IN_LIST FASTNN_ISAS)
    return()
  endif()
  list(TRANSFORM families PREPEND src/kernels/ OUTPUT_VARIABLE sources)
  list(TRANSFORM sources APPEND .cpp)
  add_library(kernels_${isa} OBJECT ${sources})
  target_compile_definitions(kernels_${isa} PRIVATE FASTNN_NS=fastnn_${isa} FASTNN_ISA_NAME="${isa}")
  # No second copy of a loop for a condition or a stride that its author knew of (a tenth of the code).
  set(size_flags "")
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    set(size_flags -fno-unswitch-loops -fno-split-loops -fno-version-loops-for-strides -Wno-maybe-uninitialized)
  else()
    set(size_flags -Wno-pass-failed)  # the loops to unroll are GCC's
  endif()
  # No contraction: fused multiply-adds are written out, so that every path rounds alike (house rule on numbers).
  target_compile_options(kernels_${isa} PRIVATE -O3 ${ARGN} -fno-exceptions -fno-rtti -ffp-contract=off -fno-math-errno
                         -fno-trapping-math -fno-lto -fno-asynchronous-unwind-tables ${size_flags} -Wall -Wextra -Wno-psabi
                         -Wno-uninitialized -Werror=missing-field-initializers)
  # Their loops are unrolled by hand: -O2 is as fast and a sixth smaller (norm, pool, softmax would lose up to half).
  set_source_files_properties(src/kernels/conv.cpp src/kernels/optim.cpp PROPERTIES COMPILE_OPTIONS -O2)
  # The same; without wide vectors, -Os is as fast too and takes off another third.
  set_source_files_properties(src/kernels/affine.cpp src/kernels/rnn.cpp src/kernels/attention.cpp PROPERTIES COMPILE_OPTIONS
                              "$<IF:$<STREQUAL:$<TARGET_PROPERTY:NAME>,kernels_baseline>,-Os,-O2>")
  set_source_files_properties(src/kernels/norm.cpp src/kernels/softmax.cpp PROPERTIES COMPILE_OPTIONS
                              "$<$<STREQUAL:$<TARGET_PROPERTY:NAME>,kernels_baseline>:-Os>")  # at most 1.5 times slower
  target_link_libraries(${target} PRIVATE kernels_${isa})
  # A symbol shared between ISAs could send AVX-512 code to a processor without it: an installed wheel cannot show this.
  if(CMAKE_NM)
    add_custom_command(TARGET ${target} POST_BUILD VERBATIM
      COMMAND ${CMAKE_COMMAND} -DNM=${CMAKE_NM} -DISA=${isa} "-DOBJECTS=$<TARGET_OBJECTS:kernels_${isa}>"
              -P ${CMAKE_CURRENT_FUNCTION_LIST_DIR}/check_symbols.cmake)
  endif()
  set_property(GLOBAL APPEND PROPERTY fastnn_isas ${isa})
endfunction()

# isas.h: the list of built ISAs that dispatch.cpp walks.
function(fastnn_write_isas)
  get_property(isas GLOBAL PROPERTY fastnn_isas)
  list(TRANSFORM isas REPLACE "(.+)" "X(\\1)" OUTPUT_VARIABLE entries)
  list(JOIN entries " " FASTNN_ISA_ENTRIES)
  configure_file(src/kernels/isas.h.in isas.h @ONLY)
endfunction()
